"""Run on an emulated machine in the place of a command: the emulator does what it would do, and this prints it.

`on_path.py PORT PATH CWD COMMAND ARGUMENTS...` asks the emulator's server at that port of loopback (`calls` has the
other side). It is started for every command, so it imports next to nothing: `socket` alone takes as long as Python does
to start, and all that is needed of it is in `_socket`.
"""

import _socket
import os
import sys

OUT, ERR = b"1", b"2"
LOST = 1


def main() -> int:
    port, path, cwd, *argv = sys.argv[1:]
    environ = [f"{name}={value}" for name, value in os.environ.items()]
    order = "\0".join([cwd, str(len(argv)), *argv, *environ]).encode(errors="surrogateescape")
    connection = _socket.socket()
    connection.connect(("127.0.0.1", int(port)))
    connection.sendall(_request(path, order))
    with os.fdopen(connection.detach(), "rb") as answer:
        while answer.readline().strip():
            pass
        while size := int(answer.readline() or b"0", 16):
            part = answer.read(size)
            answer.readline()
            if part[:1] not in (OUT, ERR):
                return int(part[1:])
            os.write(int(part[:1]), part[1:])
    return LOST


def _request(path: str, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: emulator\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


if __name__ == "__main__":
    sys.exit(main())
