"""For Docker's HEALTHCHECK: 0 while frames come, or where no page is served; 1 where one is and says otherwise.

Runs that only fill a folder have no page, and end by themselves when something is wrong.
"""

import sys
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

URL = "http://127.0.0.1:8090/healthz"
SECONDS = 2


def main(url: str = URL) -> str | None:
    """Why it is not healthy; None if it is."""
    try:
        with urlopen(url, timeout=SECONDS):  # noqa: S310, the address is not a stranger's
            return None
    except HTTPError as error:
        return error.read().decode(errors="replace").strip() or str(error)
    except URLError as error:
        return None if isinstance(error.reason, ConnectionRefusedError) else str(error.reason)
    except OSError as error:  # it hangs in the middle of an answer
        return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
