"""The nodes: every class of this package that is one. Their ids, the classes' names, are forever:
saved workflows carry them.
"""

from .boundary import guard
from .discovery import find_nodes
from .model_files import register_model_folder
from .token_counter import register_routes

register_model_folder()
register_routes()

NODE_CLASS_MAPPINGS = {cls.__name__: guard(cls) for cls in find_nodes(__name__, __path__)}
NODE_DISPLAY_NAME_MAPPINGS = {name: cls.DISPLAY_NAME for name, cls in NODE_CLASS_MAPPINGS.items()}
