"""The application gunicorn serves; importing it makes the database where there is none."""

import builtins
import importlib

# Read by pgAdmin's config.py while it is imported: users sign in.
vars(builtins)["SERVER_MODE"] = True
app = importlib.import_module("pgAdmin4").app
