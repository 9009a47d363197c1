"""``python -m v3io_frames_put``: the command ``v3io-put``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main(prog_name="v3io-put")
