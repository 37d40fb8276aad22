"""An agent process in plain Python, without Dockrion: it responds with one JSON event per line."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Speller(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        word = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["word"]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for number, letter in enumerate(word, 1):
            self.send_event(type="token", content=letter)
            self.send_event(type="progress", step="spell", progress=number / len(word))
        self.send_event(type="complete", output={"spelt": "-".join(word)})

    def send_event(self, **event: object) -> None:
        self.wfile.write(json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    with ThreadingHTTPServer(("127.0.0.1", port), Speller) as server:
        server.serve_forever()
