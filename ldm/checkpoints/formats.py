"""The kinds of checkpoint that can be read, in the order in which they are asked.

To read another kind, write a module with `matches(path)` and `read(path)` and add a line to FORMATS.
"""

from . import compvis, diffusers_folder, native, pixel, study
from .report import Format

FORMATS: dict[str, Format] = {
    "diffusers": diffusers_folder,  # before those that open files
    "native": native,
    "compvis": compvis,
    "study": study,
    "pixel": pixel,
}
FOLDERS = ("diffusers",)  # those of them that are folders
