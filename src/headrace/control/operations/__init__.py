"""The API's operations: validated, then written with their event in one transaction.

Each function raises NotFoundError, ConflictError, InvalidNameError or ManifestError, and has then
changed nothing. The control loop reacts to the changes.
"""

BY_API = "Requested through the API."
"""`Event.why` of changes that need no other explanation."""
