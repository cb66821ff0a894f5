"""`python -m tinv.cli`."""

import sys

from tinv.cli import main

sys.exit(main())
