"""Where the control plane keeps what it knows: SQLite in the home, or PostgreSQL by URL."""
