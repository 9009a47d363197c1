"""``python -m tests.mutation [module ...]``: print which mutants no fast law notices."""

import sys

from tests.mutation.run import main

main(sys.argv[1:])
