"""What is read of a stream, and when not finding something proves that it is not there."""

import msgspec
import pytest

from tests.delivery.examples import PLACE, STREAM
from tests.delivery.talk import Talk
from tests.internals import (
    Answer,
    ListedObject,
    ListingPage,
    ShardPosition,
    StreamDescription,
    StreamSurvey,
    check_reading,
    find_shard_position,
    scan_shard,
    survey_stream,
)
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ProtocolError


@pytest.fixture
def talk():
    talk = Talk()
    yield talk
    talk.platform.close()


# -- scans ---------------------------------------------------------------------------------


def test_a_scan_reads_from_the_record_before_to_the_end(talk):
    talk.write(9)
    assert talk.scan(ShardPosition(5)) == ([5, 6, 7, 8, 9], True)


def test_a_scan_does_not_read_older_data(talk):
    talk.write(5_000)
    numbers, is_proven = talk.scan(ShardPosition(4_998))
    assert (numbers, is_proven) == ([4_998, 4_999, 5_000], True)
    assert talk.asked == ["Seek", "GetRecords"]


def test_a_scan_from_the_very_end_finds_nothing_and_proves_it(talk):
    talk.write(5)
    assert talk.scan(ShardPosition(5)) == ([5], True)


def test_a_scan_of_a_shard_that_was_empty_at_the_start_reads_all_of_it(talk):
    talk.write(3)
    assert talk.scan(ShardPosition(0)) == ([1, 2, 3], True)


def test_a_shard_that_was_never_written_holds_nothing_for_certain(talk):
    talk.write(3, shard=1)
    assert talk.scan(ShardPosition(0)) == ([], True)


def test_retention_up_to_the_start_leaves_no_gap(talk):
    talk.write(9)
    talk.drop(keep_last=4)  # 6 to 9
    assert talk.scan(ShardPosition(5)) == ([6, 7, 8, 9], True)


def test_retention_behind_the_start_is_a_gap(talk):
    talk.write(9)
    talk.drop(keep_last=3)  # 7 to 9: nobody knows what 6 was
    assert talk.scan(ShardPosition(5)) == ([7, 8, 9], False)


def test_retention_of_the_first_record_of_an_empty_start_is_a_gap(talk):
    talk.write(3)
    talk.drop(keep_last=2)
    assert talk.scan(ShardPosition(0)) == ([2, 3], False)


def test_a_shard_of_which_all_was_dropped_proves_nothing(talk):
    talk.write(9)
    talk.drop()
    assert talk.scan(ShardPosition(5)) == ([], False)
    assert talk.scan(ShardPosition(0)) == ([], False)


def test_a_shard_that_is_listed_and_not_found_proves_nothing(talk):
    assert talk.scan(ShardPosition(0)) == ([], True)
    assert talk.scan(ShardPosition(0, is_written=True)) == ([], False)


def test_a_shard_that_is_none_of_the_streams_holds_nothing(talk):
    assert talk.scan(ShardPosition(0), shard=9) == ([], True)


def test_a_stream_made_anew_and_not_written_proves_nothing(talk):
    talk.write(9)
    talk.remake()
    assert talk.scan(ShardPosition(5)) == ([], False)


def test_a_stream_made_anew_that_holds_less_than_before_proves_nothing(talk):
    talk.write(9)
    talk.remake()
    talk.write(2)
    assert talk.scan(ShardPosition(5)) == ([1, 2], False)


def test_a_location_noted_at_the_start_proves_by_itself(talk):
    talk.write(5)
    talk.refused = {"GetItem"}
    start = talk.lead(find_shard_position(PLACE, 0))
    assert start.location is not None
    talk.write(2)
    assert talk.scan(start) == ([6, 7], True)


def test_a_noted_location_that_is_lost_proves_nothing(talk):
    talk.write(5)
    talk.refused = {"GetItem"}
    start = talk.lead(find_shard_position(PLACE, 0))
    talk.write(5)
    talk.drop(keep_last=2)
    assert talk.scan(start) == ([], False)


def test_a_location_lost_between_two_pages_proves_nothing():
    talk = Talk(answer_bytes=300)  # two small records a page
    talk.write(9)
    talk.after = {2: talk.drop}  # after the seek and the first page
    numbers, is_proven = talk.scan(ShardPosition(1))
    assert numbers == [1, 2]
    assert not is_proven


def test_a_scan_goes_on_from_page_to_page():
    talk = Talk(answer_bytes=300)
    talk.write(9)
    assert talk.scan(ShardPosition(2)) == ([2, 3, 4, 5, 6, 7, 8, 9], True)
    assert talk.asked.count("GetRecords") == 4


def test_a_scan_ends_where_the_shard_ended_though_others_write_on():
    talk = Talk(answer_bytes=300)
    talk.write(5)
    talk.after = {number: lambda: talk.write(2) for number in range(2, 100)}
    numbers, is_proven = talk.scan(ShardPosition(0))
    assert is_proven
    assert numbers[:5] == [1, 2, 3, 4, 5]
    assert len(numbers) <= 6


# -- surveys and starts ----------------------------------------------------------------------


def test_a_survey_tells_shards_and_their_last_numbers(talk):
    talk.write(3, shard=1)
    assert talk.lead(survey_stream(PLACE)) == StreamSurvey(2, {1: 3})


def test_a_survey_names_shards_whose_numbers_are_not_listed():
    talk = Talk(lists_numbers=False)
    talk.write(3, shard=1)
    assert talk.lead(survey_stream(PLACE)) == StreamSurvey(2, {1: None})


def test_a_survey_of_a_stream_never_written_is_empty(talk):
    assert talk.lead(survey_stream(PLACE)) == StreamSurvey(2, {})


def test_a_survey_of_no_stream_says_so(talk):
    talk.platform.delete_stream(STREAM)
    assert talk.lead(survey_stream(PLACE)) is None


def test_a_survey_reads_every_page_of_the_listing():
    talk = Talk(shards=1_203)
    for shard in range(1_203):
        talk.write(1, shard=shard)
    survey = talk.lead(survey_stream(PLACE))
    assert survey == StreamSurvey(1_203, dict.fromkeys(range(1_203), 1))
    assert len(talk.asked) == 3  # the stream, and two pages of a thousand


def test_a_start_is_the_last_number(talk):
    talk.write(7)
    assert talk.lead(find_shard_position(PLACE, 0)) == ShardPosition(7)


def test_without_numbers_a_start_is_the_place_behind_the_last_record(talk):
    talk.write(7)
    talk.refused = {"GetItem"}
    start = talk.lead(find_shard_position(PLACE, 0))
    assert (start.number, start.location is not None) == (0, True)
    assert talk.asked == ["GetItem", "Seek"]


def test_a_shard_that_does_not_exist_yet_starts_at_its_beginning(talk):
    assert talk.lead(find_shard_position(PLACE, 0)) == ShardPosition(0)


@pytest.mark.parametrize("records", [0, 3])
def test_reading_is_tried_out_on_a_stream_with_and_without_records(talk, records):
    talk.write(records)
    assert talk.lead(check_reading(PLACE)) is None
    assert talk.asked == ["Seek", "GetRecords"][: 1 + (records > 0)]


def test_a_listing_without_an_end_is_given_up():
    page = ListingPage((), (), next_marker="more")
    query = survey_stream(PLACE)
    next(query)
    query.send(StreamDescription(shards=1, retention_hours=1))
    for _ in range(MAX_SHARDS - 1):
        query.send(page)
    with pytest.raises(StopIteration) as over:
        query.send(page)
    assert over.value.value == StreamSurvey(1, {0: None}, is_listed=False)


def test_a_listing_that_breaks_off_names_every_shard():
    talk = Talk(shards=1_203)
    for shard in range(1_203):
        talk.write(1, shard=shard)
    talk.after = {2: lambda: talk.platform.delete_stream(STREAM)}  # after its first page
    survey = talk.lead(survey_stream(PLACE))
    assert survey == StreamSurvey(1_203, dict.fromkeys(range(1_203)), is_listed=False)


@pytest.mark.parametrize("ask", [survey_stream, check_reading])
def test_an_answer_that_is_not_about_the_stream_is_no_answer(ask):
    step = next(ask(PLACE))
    with pytest.raises(ProtocolError, match="the platform answered 400 Bad Request"):
        step.parse(Answer(400, {}, b"<title>Bad Request</title>"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (400, b'{"ErrorMessage": "ResourceNotFoundException"}'),
        (400, b'{"ErrorMessage": "Permission denied"}'),
    ],
)
def test_what_is_not_there_or_may_not_be_read_is_an_answer(status, body):
    assert next(survey_stream(PLACE)).parse(Answer(status, {}, body)) is None


# -- absurd answers --------------------------------------------------------------------------


def page_of(*numbers, behind, location="on"):
    record = {"ArrivalTimeSec": 1, "ArrivalTimeNSec": 0, "Data": "eA=="}
    body = {
        "Records": [{**record, "SequenceNumber": number} for number in numbers],
        "NextLocation": location,
        "RecordsBehindLatest": behind,
    }
    return Answer(200, {}, msgspec.json.encode(body))


def lead_through(query, *answers):
    """Give a query these answers, and return what it finds."""
    step = next(query)
    try:
        for answer in answers:
            step = query.send(step.parse(answer))
    except StopIteration as over:
        return over.value
    return step


def test_more_records_than_any_reading_could_bring_are_not_believed():
    query = scan_shard(PLACE, 0, ShardPosition(0), lambda _shard, _page: None)
    seek = Answer(200, {}, b'{"Location": "first"}')
    assert lead_through(query, seek, page_of(1, behind=10**9)) is False


def test_a_page_with_next_to_nothing_counts_against_the_deadline():
    query = scan_shard(PLACE, 0, ShardPosition(0), lambda _shard, _page: None)
    seek = Answer(200, {}, b'{"Location": "first"}')
    step = lead_through(query, seek, page_of(1, behind=50))
    assert step.follows_little
    step = query.send(step.parse(page_of(*range(2, 30), behind=50)))
    assert not step.follows_little


def test_listed_names_that_are_not_shards_are_left_out():
    query = survey_stream(PLACE)
    next(query)
    query.send(StreamDescription(shards=2, retention_hours=1))
    keys = ["model/stream/1", "model/stream/" + "9" * 5_000, "model/stream/x"]
    page = ListingPage(tuple(ListedObject(key, 3) for key in keys), (), next_marker=None)
    with pytest.raises(StopIteration) as over:
        query.send(page)
    assert over.value.value == StreamSurvey(2, {1: 3})
