"""Runs MiniStack, the local engine, until standard input ends; then ends everything that it started.

The local stack holds the other end of standard input. However that process dies, its end closes with it, so nothing is
left behind: not the engine, and not the function processes that the engine started.
"""

import os
import signal
import sys
import threading
import time

from ministack.app import main
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

GRACE_SECONDS = 10


def end_with_standard_input():
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)  # the engine saves its state
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


threading.Thread(target=end_with_standard_input, daemon=True).start()
sys.argv = ["ministack"]
try:
    main()
finally:
    os.killpg(0, signal.SIGKILL)
