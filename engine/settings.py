"""The settings of each command, declared once: the flags, JSON keys and defaults users see.

Cross-field rules live in `__post_init__`; a field's own bounds stand beside it in `setting`.
"""

import dataclasses

from engine.config import Config, UserError, parse_image_size, setting
