"""The one exception type for mistakes that a user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong.

    The message names the thing, what was found and what is allowed; the command line prints it as
    one line, the node logs it. Anything else that is raised is a defect of this package.
    """
