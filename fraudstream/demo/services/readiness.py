"""What a process of ours says of itself at `/health/ready`."""

import http.client
import json


def not_ready_reasons(address: str) -> list[str]:
    """Return why the process at `host:port` is not ready, also if it does not answer; empty if it is."""
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return [str(reason) for reason in json.loads(connection.getresponse().read())["reasons"]]
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [f"it does not answer yet ({type(error).__name__})"]
    finally:
        connection.close()
