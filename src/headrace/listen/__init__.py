"""What every server of Headrace does before it answers: sockets, TLS, hosts and origins."""
