"""`python -m relusweep`: the command line."""

import sys

from relusweep.cli import main

sys.exit(main())
