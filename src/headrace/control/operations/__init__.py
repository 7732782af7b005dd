"""What people ask for: checked, then written in one transaction together with its event.

One module a noun. Each function raises NotFoundError, ConflictError, InvalidNameError or
ManifestError and has then changed nothing. What follows from a change is the controller's matter.
"""
