"""A Sail server in a process of its own: prints its port (given, or any), ends when its
standard input does.
"""

import sys

from pysail.spark import SparkConnectServer

if __name__ == "__main__":
    server = SparkConnectServer(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    server.start(background=True)
    print(server.listening_address[1], flush=True)  # noqa: T201 - this is what it is for
    sys.stdin.read()
