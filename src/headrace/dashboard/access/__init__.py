"""Who may see and change what: sign-in, sessions, CSRF tokens."""
