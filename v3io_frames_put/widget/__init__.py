"""The uploader for notebooks: plain ipywidgets over ``plan_records`` and ``put_records``.

Callbacks only take notes and start threads: in which thread a kernel runs them differs
by its version, and while one runs no other control answers. Nothing is printed: what a
thread prints is lost in a notebook.
"""

from .uploader import Uploader

__all__ = ["Uploader"]
