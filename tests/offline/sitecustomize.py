"""What Python imports first where this folder is on PYTHONPATH: so the block holds in processes that tests start."""

import offline

offline.block()
