"""Which environment variables are likely to hold a credential, by their names."""

import re

_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY)", re.I)


def names_a_secret(name: str) -> bool:
    """Whether a variable of this name is likely to hold a credential."""
    return _SECRET_NAME.search(name) is not None
