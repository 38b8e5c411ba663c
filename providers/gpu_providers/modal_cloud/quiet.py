"""Keeps Modal's client from writing to the terminal."""

import logging
import os
import warnings

_LOGGERS = ("modal-client", "modal-utils")


def hush() -> None:
    """For this process: what the client logs of its tries and heartbeats, and what the server has to say to its users,
    would come out on stderr (modal/_utils/logger.py and _traceback.py, 1.6.4). With MODAL_LOGLEVEL the log stays.
    """
    import modal

    warnings.simplefilter("ignore", modal.exception.ServerWarning)
    if "MODAL_LOGLEVEL" not in os.environ:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
