"""A field for a secret that keeps it out of the widget's state."""

from __future__ import annotations

from typing import Any

from ipywidgets import Password
from traitlets import Unicode


class SecretText(Password):  # type: ignore[misc]  # ipywidgets has no types
    """Takes a secret and empties itself.

    What a widget's traits hold is sent to every browser that shows it, and saved with
    the notebook. So the text goes into a private attribute and the trait is cleared in
    the same callback; and it is not echoed, as other traits are, to all front ends.
    """

    value = Unicode("", help="Empty again as soon as it was read").tag(sync=True, echo_update=False)

    def __init__(self, **options: Any) -> None:
        self._secret: str | None = None
        super().__init__(continuous_update=False, **options)
        self.observe(self._take, names="value")

    @property
    def secret(self) -> str | None:
        """What was typed last. None: nothing yet."""
        return self._secret

    def _take(self, change: Any) -> None:
        if change["new"]:
            self._secret = change["new"]
            self.value = ""
            self.placeholder = "taken; type another to replace it"
