#!/usr/bin/env python3
"""Opens the page in a headless Chromium and compares the digits it draws with those of `gen`.

    check.py FOLDER NATIVE.safetensors [CHROMIUM]

FOLDER holds index.html, web_smoke.js and web_smoke_bg.wasm; NATIVE the tensor `x` that
`gen sample --seeds 0-3 --sampler dpmpp --steps 10 --eta 0` wrote. Exit code 0 where both agree. A server on this machine's own
address hands out the page and takes what it draws; nothing else is reached.
"""

import array
import functools
import http.server
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Drivers order sums and round exponentials otherwise: SwiftShader in Chromium and Mesa's driver beside it were 3.3e-6 apart.
# Pixels go from 0 to 1; one step of 8 bits is 4e-3.
TOLERANCE = 1e-4
SECONDS = 300
FLAGS = [
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    # In a container there is no sandbox to be had for root.
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    # The software driver that Chromium carries, whatever GPU there is.
    "--use-webgpu-adapter=swiftshader",
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the page, and one POST with the outcome."""

    outcome: "queue.Queue[tuple[str, bytes]]" = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.outcome.put((self.path, body))

    def log_message(self, *_):
        pass


def native(path):
    """The tensor `x` of a safetensors file, as floats."""
    data = Path(path).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    tensor = json.loads(data[8:end])["x"]
    begin, stop = tensor["data_offsets"]
    assert tensor["dtype"] == "F32", tensor
    return tensor["shape"], array.array("f", data[end + begin : end + stop])


def drawn(folder, chromium):
    """What the page draws: floats."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        log = Path(profile) / "log"
        with log.open("wb") as out:
            browser = subprocess.Popen(
                [chromium, *FLAGS, f"--user-data-dir={profile}/data", "--enable-logging=stderr",
                 f"http://127.0.0.1:{server.server_port}/index.html"],
                stdout=out, stderr=out,
            )
        try:
            path, body = Handler.outcome.get(timeout=SECONDS)
        except queue.Empty:
            sys.exit(f"the page told nothing within {SECONDS} s\n{log.read_text(errors='replace')[-4000:]}")
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
    if path != "/result":
        sys.exit(f"the page failed: {body.decode(errors='replace')}")
    return array.array("f", body)


def main():
    folder, path = sys.argv[1:3]
    chromium = sys.argv[3] if len(sys.argv) > 3 else shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed")
    shape, expected = native(path)
    pixels = drawn(folder, chromium)
    if len(pixels) != len(expected):
        sys.exit(f"the page drew {len(pixels)} values, native {shape}")
    # A value that is no number would pass a comparison by the largest difference.
    if any(value != value for value in pixels):
        sys.exit("the page drew NaN")
    ink = sum(pixels) / len(pixels)
    worst = max(abs(a - b) for a, b in zip(pixels, expected))
    print(f"{shape[0]} digits in Chromium: largest difference from native {worst:.2e} of 1, mean {ink:.3f}")
    if not worst <= TOLERANCE:
        sys.exit(f"more than {TOLERANCE} is no rounding")


main()
