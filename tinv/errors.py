"""The one kind of error that a user is meant to see."""


class UserError(ValueError):
    """Something the user set, gave or ran out of; the message is one sentence with the remedy in it.

    The doors (`train.py`, `tinv ...`) print the message alone, without a traceback. Every other exception is a
    defect of ours and keeps its traceback.
    """
