"""The agent: a process of its own, which knows nothing of Dockrion. Any language will do as well."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Speller(BaseHTTPRequestHandler):
    def do_POST(self):
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        # The response is a stream of events, a line of JSON each; one JSON document would do, too.
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for letter in payload["word"]:
            self.send_event({"type": "token", "content": f"{letter}-"})
            time.sleep(0.05)
        self.send_event({"type": "complete", "output": {"spelt": "-".join(payload["word"])}})

    def send_event(self, event):
        self.wfile.write(json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    print("the agent listens on http://127.0.0.1:9000/")
    with ThreadingHTTPServer(("127.0.0.1", 9000), Speller) as server:
        server.serve_forever()
