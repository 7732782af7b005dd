"""What all of Headrace's servers share: listening sockets, TLS, Host and Origin checks.

``embedded_server`` runs a small server beside other work of its event loop.
"""
