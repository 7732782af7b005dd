"""What all of Headrace's servers share: listening sockets, TLS, Host and Origin checks."""
