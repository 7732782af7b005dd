"""What a measurement leaves behind: files, tables for a terminal."""
