"""The private names that tests use: the one place to change when a module moves."""

from __future__ import annotations

from v3io_frames_put._cluster.folder import ResultsFolder, StopFlag
from v3io_frames_put._cluster.receipt import find_copies, merge_receipts
from v3io_frames_put._cluster.run import begin_run, make_run, send_partition
from v3io_frames_put._encode import plan as _plan
from v3io_frames_put._encode import sources
from v3io_frames_put._encode.base64 import encode_base64, join_base64
from v3io_frames_put._encode.casts import cast_cells
from v3io_frames_put._encode.csv_text import Dialect
from v3io_frames_put._encode.decode import decode_records
from v3io_frames_put._encode.json_encoder import RowWriter, write_cells
from v3io_frames_put._encode.json_lines import FILE, FILE_ROW
from v3io_frames_put._encode.layouts import DETAIL, INVALID, make_plain, plain_type
from v3io_frames_put._encode.plan import RowPlan
from v3io_frames_put._encode.records import Blocks, Records
from v3io_frames_put._encode.rejections import Rejections
from v3io_frames_put._encode.routing import Routes
from v3io_frames_put._encode.schemas import merge_schemas, promote, read_types
from v3io_frames_put._encode.sources import StreamSource
from v3io_frames_put._io import connection, reader, request_errors
from v3io_frames_put._io.connection import ClosedError, CutError, GarbledAnswerError
from v3io_frames_put._io.endpoint import Endpoint, Secrets
from v3io_frames_put._io.senders import Event, RecordsReady, RequestDone, Senders, ThreadFailed
from v3io_frames_put._io.stream_admin import Clock, RetryingRequests
from v3io_frames_put._io.transport import KINDS, NETWORK_ERRORS, Transport, fault_detail, fault_kind
from v3io_frames_put._journal import open_journal
from v3io_frames_put._journal.journal import Journal
from v3io_frames_put._journal.store import Store, from_blob, narrow, to_blob
from v3io_frames_put._producer.accumulator import Accumulator, Batch
from v3io_frames_put._producer.classification import (
    classify_query_response,
    classify_response,
    describe_cause,
    describe_failure,
    is_missing,
)
from v3io_frames_put._producer.flow_control import (
    AdaptiveLimit,
    ConcurrencyLimit,
    RetryContext,
    next_delay,
    parse_retry_after,
)
from v3io_frames_put._producer.in_doubt import POSITION, RecordsInDoubt, make_positions
from v3io_frames_put._producer.outcomes import Outcomes, RunLog
from v3io_frames_put._producer.prior_run import PriorInDoubt, PriorOutcomes, PriorRun
from v3io_frames_put._producer.producer import Producer, Retried
from v3io_frames_put._producer.queries import (
    Query,
    QueryScheduler,
    QueryStep,
    ShardPosition,
    StreamSurvey,
    check_reading,
    find_shard_position,
    scan_shard,
    survey_stream,
)
from v3io_frames_put._producer.reconciler import Reconciler, Scan
from v3io_frames_put._producer.values import (
    BLANK,
    IN_DOUBT,
    NOT_GIVEN,
    OPEN,
    PAGE_ROWS,
    SCHEMA,
    STATUSES,
    Copy,
    Failure,
    Texts,
)
from v3io_frames_put._run import Run, RunPlan, RunReport, Runtime, StopSwitch, plan_run
from v3io_frames_put._wire import api, responses
from v3io_frames_put._wire.api import (
    Answer,
    Attempt,
    Fault,
    FaultKind,
    PlatformError,
    Request,
    Stage,
    parse_error,
    put_records_request,
)
from v3io_frames_put._wire.bodies import (
    ENVELOPE_BYTES,
    NO_SHARD,
    EncodedRecords,
    Entries,
    EntryRange,
    build_body,
    encode_records,
    join_entries,
)
from v3io_frames_put._wire.paths import StreamPath, parse_stream_path
from v3io_frames_put._wire.responses import (
    ListedObject,
    ListingPage,
    PutAnswer,
    RecordPage,
    StreamDescription,
    UnbelievableAnswerError,
    parse_put_answer,
    parse_record_page,
)
from v3io_frames_put._wire.tags import (
    format_tags,
    number_tags,
    parse_tag,
    read_tags,
    split_tags,
)
from v3io_frames_put.cli._main import (
    CommandGroup,
    Exit,
    escape,
    judge_error,
    judge_results,
    log_to_stderr,
    to_json,
    to_options,
)
from v3io_frames_put.cli._streams import _confirm, read_on
from v3io_frames_put.config import WINDOW_BYTES, DeliveryOptions, Limits, RowOptions
from v3io_frames_put.jobs._outputs import (
    RowReader,
    Sink,
    check_failed_rows,
    check_outputs,
    open_parquet,
)
from v3io_frames_put.jobs._run import estimate_rows, show_progress
from v3io_frames_put.progress import ProgressLog
from v3io_frames_put.put import run_to_results
from v3io_frames_put.results import Receipt, attach_receipt
from v3io_frames_put.resume import read_prior_run


def plan_rows(  # those of the function
    data, *, limits=None, window_bytes=WINDOW_BYTES, held_bytes=None, **options
):
    """Plan rows, with the options of ``RowOptions`` as keywords."""
    return _plan.plan_rows(
        data,
        RowOptions(**options),
        limits=limits or Limits(),
        window_bytes=window_bytes,
        held_bytes=held_bytes,
    )
