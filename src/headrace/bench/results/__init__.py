"""Result files, and tables for the terminal."""
