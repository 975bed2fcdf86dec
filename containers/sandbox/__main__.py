"""
`python3 -m sandbox`.
"""

import sys

from .cli import main

sys.exit(main())
