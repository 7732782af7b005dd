"""The web dashboard, which the control plane serves: pages for what its API offers.

Server-rendered; it reads the store and calls `control.operations`, as the API's routes do.
"""
