#!/usr/bin/env bash
# An agent as a shell script: it creates an external run, pushes events of every type, and completes the run.
#   PUSH_TOKEN=… config/agents/push.sh http://localhost:8080 my-run
set -euo pipefail
service=$1 run=$2

# Retries are safe: a batch with a known producer_seq is not stored again.
# The token is not an argument, as those are visible to other users of the machine.
post() {
  curl --silent --show-error --fail-with-body --retry 3 --retry-connrefused --output /dev/null \
    --header @<(printf 'Authorization: Bearer %s' "$PUSH_TOKEN") \
    --header 'Content-Type: application/json' --data "$2" "$service$1"
}
push() { post "/runs/$run/events?producer_seq=$((++batch))" "$1"; }

batch=0
post "/runs?external=true&run_id=$run" '{}'
push '{"type": "progress", "step": "look", "progress": 0.5, "message": "looking around"}'
push '[{"type": "token", "content": "Hel"}, {"type": "token", "content": "lo", "finish_reason": "stop"}]'
push '{"type": "message", "role": "assistant", "content": "Hello", "message_id": "m1"}'
push '{"type": "reasoning", "content": "A greeting needs a name.", "source": "greeter"}'
push '{"type": "tool_call", "tool_call_id": "c1", "name": "look_up", "arguments": {"id": 7}}'
push '{"type": "tool_result", "tool_call_id": "c1", "name": "look_up", "result": {"name": "Ada"}, "duration_ms": 3}'
push '{"type": "usage", "model": "small", "input_tokens": 12, "output_tokens": 2}'
push '{"type": "step", "node_name": "greet", "duration_ms": 12, "input_keys": ["name"], "output_keys": ["text"]}'
push '{"type": "checkpoint", "name": "draft", "data": {"text": "Hello"}}'
push '{"type": "heartbeat"}'
push '{"type": "custom:mood", "happy": true}'
push '{"type": "complete", "output": {"text": "Hello"}}'
