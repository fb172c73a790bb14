"""Runs MiniStack, the local engine, until standard input ends; then ends everything that it started.

The local stack holds the other end of standard input. However that process dies, its end closes with it, so nothing is
left behind: not the engine, and not the function processes that the engine started.
"""

import datetime
import json
import os
import re
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import hypercorn.asyncio
from ministack import app as gateway
from ministack.services import dynamodb, lambda_svc

# The engine saves how far a mapping has read a table's stream, but not the stream itself: after a restart, as many new
# changes would be passed over. Without the saved place it begins with what there is.
restore_positions = lambda_svc._restore_esm_positions


def restore_all_but_streams(store, positions):
    if store is not lambda_svc._dynamodb_stream_positions:
        restore_positions(store, positions)


lambda_svc._restore_esm_positions = restore_all_but_streams

# Of a table's stream the engine takes no notice of `batchItemFailures`: it would pass over what the function wants again.
# To bring all of the batch again is safe, and AWS does it too.
execute = lambda_svc._execute_function


def execute_and_heed_failures(func, event):
    result = execute(func, event)
    records = event.get("Records") if isinstance(event, dict) else None
    of_a_stream = bool(records) and records[0].get("eventSource") == "aws:dynamodb"
    body = result.get("body") if isinstance(result, dict) else None
    if of_a_stream and isinstance(body, dict) and body.get("batchItemFailures"):
        result["error"] = True
    return result


lambda_svc._execute_function = execute_and_heed_failures

# A function's process that dies, at its start or in the middle, is told to whoever reads along in the folder of logs: its
# own log cannot say so. And what it said while it started goes to its log group, which would have had nothing.
run_process = lambda_svc._execute_function_provided_warm


def run_process_and_tell_if_it_dies(func, event, request_id):
    result = run_process(func, event, request_id)
    body = result.get("body")
    if result.get("error") and isinstance(body, dict) and str(body.get("errorType")).startswith(("Runtime.", "Sandbox.")):
        error = str(body.get("errorMessage"))
        result["log"] = result.get("log") or error
        tell({"function": (func.get("config") or func).get("FunctionName"), "error": error})
    return result


def tell(what):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"timestamp": now, "level": "ERROR", "message": "function.died", **what})
    with open(os.path.join(os.environ["LOG_DIR"], "lambda.log"), "a") as log:
        log.write(line + "\n")


lambda_svc._execute_function_provided_warm = run_process_and_tell_if_it_dies

# What a PartiQL statement writes gets no record in the table's stream. It is noted here, and recorded as the writes of
# other calls are once the statement has succeeded: a transaction that fails takes back what it has written.
statement = threading.local()


def noted(write):
    def write_and_note(table, partition_key, sort_key, *item):
        old_item = write(table, partition_key, sort_key, *item)
        changes = getattr(statement, "changes", None)
        if changes is not None and (item or old_item is not None):
            changes.append((table["TableName"], old_item, *(item or [None])))
        return old_item

    return write_and_note


def recorded(execute):
    def execute_and_record(data):
        statement.changes = []
        try:
            answer = execute(data)
        finally:
            changes, statement.changes = statement.changes, None
        if answer[0] == 200:
            for table, old_item, new_item in changes:
                event = "REMOVE" if new_item is None else "INSERT" if old_item is None else "MODIFY"
                dynamodb._emit_stream_event(table, event, old_item, new_item)
        return answer

    return execute_and_record


dynamodb._set_item = noted(dynamodb._set_item)
dynamodb._remove_item = noted(dynamodb._remove_item)
dynamodb._execute_statement = recorded(dynamodb._execute_statement)  # also each one of a BatchExecuteStatement
dynamodb._execute_transaction = recorded(dynamodb._execute_transaction)

# The engine checks no signatures, and runs what it is asked to. So that no web page can ask it by the browser of whoever
# runs it, it answers programs only. A browser says so itself in `Origin`, which it leaves out of some GETs, and in
# `Sec-Fetch-Site`, which is `none` for an address that a person has typed. What a page reaches under a name of its own
# that leads here (DNS rebinding) is known by its `Host`. Names below `localhost` lead nowhere else, and are S3's buckets.
OUR_HOST = re.compile(r"(127\.0\.0\.1|\[::1\]|([a-z0-9.-]+\.)?localhost)(:\d+)?", re.IGNORECASE)
ALSO_AT = os.environ.get("ALSO_LISTEN_AT")  # address:port
REFUSAL = "The local AWS takes no requests from web pages, and none for another host than this machine."


def is_foreign(headers):
    headers = [(name.lower(), value) for name, value in headers]
    hosts = [value for name, value in headers if name == "host"]
    of_a_page = any(name == "origin" or (name == "sec-fetch-site" and value != "none") for name, value in headers)
    return of_a_page or not hosts or not all(OUR_HOST.fullmatch(host) or host == ALSO_AT for host in hosts)


serve = gateway.app


async def serve_programs(scope, receive, send):
    """The engine's port. No answer lets a web page read it, whatever the service says."""

    async def send_to_programs(message):
        if "headers" in message:
            kept = [(name, value) for name, value in message["headers"] if not name.lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)

    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", [])]
    if scope["type"] == "lifespan" or not is_foreign(headers):
        await serve(scope, receive, send_to_programs)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": REFUSAL.encode()})


gateway.app = serve_programs

# Each function's process asks a port of its own for events, and answers there: a page could take an event away, or end
# the function.
parse_request = BaseHTTPRequestHandler.parse_request


def parse_request_of_program(handler):
    if not parse_request(handler):
        return False
    if is_foreign(handler.headers.items()):
        handler.send_error(403, explain=REFUSAL)
        return False
    return True


BaseHTTPRequestHandler.parse_request = parse_request_of_program

# The engine listens at one address. Containers come to another one, if they may; the functions' own ports stay as they are.
listen = hypercorn.asyncio.serve


def listen_there_too(app, config):
    config.bind = [*config.bind, *filter(None, [ALSO_AT])]
    return listen(app, config)


hypercorn.asyncio.serve = listen_there_too

GRACE_SECONDS = 10


def end_with_standard_input():
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)  # the engine saves its state
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


threading.Thread(target=end_with_standard_input, daemon=True).start()
sys.argv = ["ministack"]
try:
    gateway.main()
finally:
    os.killpg(0, signal.SIGKILL)
