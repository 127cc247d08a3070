"""The errors that are printed as one line for a person; any other exception is a defect and shows its traceback."""

from multimodal.store import InputError
from speech.errors import SpeechError
from vision.errors import VisionError

FOR_PEOPLE = (InputError, SpeechError, VisionError)
