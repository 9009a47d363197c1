"""No flipped condition in what decides goes unnoticed, but for those that are explained."""

import subprocess
import sys

import pytest

from tests.mutation.explained import EXPLAINED
from tests.mutation.run import labels_of


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_is_explained_is_still_there(name):
    assert set(EXPLAINED[name]) <= set(labels_of(name))


@pytest.mark.long
@pytest.mark.parametrize("name", EXPLAINED)
def test_every_mutant_is_noticed_or_explained(name):
    command = [sys.executable, "-m", "tests.mutation", name]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    _, *survivors = ended.stdout.splitlines()
    assert {line.strip() for line in survivors} == set(EXPLAINED[name])
