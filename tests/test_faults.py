"""Which fault is tried where: the numbers are those of the project's list of faults to survive.

A table, and a test that it tells the truth: every test named here exists. Bridges to old equipment
(43) are not part of this program. There is one release so far, so no older one's state can be kept
as a fixture (42): a state of another version is refused, left as it was, and taken up again.
"""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent

#: Number -> what is wrong, and the tests that make it so.
FAULTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("malformed messages", (
        "test_live_faults::test_poison_of_every_kind_becomes_dead_letters",
        "test_kafka_codec::test_anything_is_either_readings_or_a_dead_letter")),
    2: ("values that are no numbers", (
        "test_detectors::test_sanity", "test_bad_input::test_values_at_the_edge_of_the_numbers")),
    3: ("unknown schema, no time", (
        "test_live_schemas::test_every_format_of_a_registry_and_a_registry_that_is_away",
        "test_kafka_codec::test_each_unusable_message_has_its_reason")),
    4: ("duplicates", ("test_live_faults::test_poison_of_every_kind_becomes_dead_letters",)),
    5: ("out of order within the lateness", (
        "test_monitor_reorder::test_what_is_shuffled_within_the_lateness_says_what_the_sorted_stream_says",)),
    6: ("later than that", (
        "test_live_faults::test_late_readings_are_put_in_order_and_too_late_ones_set_aside",)),
    7: ("an asset's clock jumps", (
        "test_live_faults::test_late_readings_are_put_in_order_and_too_late_ones_set_aside",)),
    8: ("the host's clock jumps", (
        "test_live_moments::"
        "test_a_batch_that_takes_longer_than_the_group_waits_while_the_clock_jumps",
        "test_live_moments::test_a_clock_that_is_far_ahead_is_said_and_waited_for")),
    9: ("a gap", (
        "test_live_network::test_a_machine_that_falls_silent_is_told_while_the_others_go_on",)),
    10: ("a value that is stuck", (
        "test_bad_input::test_a_constant_column_is_blind_and_says_why",)),
    11: ("a new sensor or asset", (
        "test_detectors::test_no_opinion_before_there_is_a_reference",
        "test_assets::test_a_column_that_came_later_is_part_of_the_next_change")),
    12: ("maintenance, another unit", (
        "test_monitor::test_maintenance_closes_the_open_case_and_warms_up_anew",)),
    13: ("a flood of asset names", ("test_eviction::test_a_flood_of_names_keeps_memory_bounded",)),
    14: ("a flood of label values", (
        "test_telemetry::test_machines_beyond_the_cap_are_summed_up_and_counted",
        "test_exposition::test_any_label_comes_back")),
    15: ("huge, deep and swelling messages", (
        "test_live_faults::test_poison_of_every_kind_becomes_dead_letters",
        "test_kafka_codec::test_compressed_arrow_is_refused_before_it_is_unpacked")),
    16: ("unknown codec, wrong checksum", (
        "test_live_damage::"
        "test_a_damaged_batch_stops_the_service_or_is_passed_over_as_the_settings_say",)),
    17: ("a damaged state", (
        "test_kafka_state::test_damage_newer_formats_and_other_settings_are_refused",
        "test_service::test_the_last_two_are_kept_and_a_damaged_one_is_passed_over")),
    18: ("a state of a newer version", (
        "test_live_policies::test_a_state_that_cannot_be_used_ends_the_service",
        "test_monitor::test_a_newer_snapshot_is_refused_in_words")),
    19: ("kill -9 at random", (
        "test_live_faults::test_twenty_kills_lose_and_double_nothing",
        "test_live_faults::test_a_leader_and_workers_that_are_killed_among_three_older_brokers")),
    20: ("kill -9 within a commit", (
        "test_live_moments::test_a_kill_between_the_steps_of_a_commit",)),
    21: ("SIGTERM, twice", (
        "test_live_operations::test_a_stop_drains_commits_and_keeps_the_state",
        "test_live_signals::test_a_second_signal_ends_it_at_once")),
    22: ("a full disk", (
        "test_local::test_a_full_disk_is_said_and_nothing_that_was_kept_is_torn",)),
    23: ("a broker that is down at the start", (
        "test_live_faults::test_a_broker_that_is_down_at_the_start_is_waited_for",
        "test_live_signals::test_a_stop_while_the_broker_is_waited_for")),
    24: ("a broker that goes away", (
        "test_live_faults::test_a_broker_that_goes_away_for_a_while",)),
    25: ("a leader is killed", (
        "test_live_faults::test_a_leader_and_workers_that_are_killed_among_three_older_brokers",)),
    26: ("workers come and go", (
        "test_live_faults::test_workers_that_come_and_go_in_the_middle_of_batches",)),
    27: ("a zombie", ("test_live_faults::test_a_zombie_is_fenced_and_says_nothing",)),
    28: ("a batch longer than the group waits", (
        "test_live_moments::"
        "test_a_batch_that_takes_longer_than_the_group_waits_while_the_clock_jumps",)),
    29: ("an output that is stuck", (
        "test_live_pressure::test_an_output_that_hardly_takes_anything_for_a_while",
        "test_live_operations::test_the_webhook_is_retried_and_survives_a_restart")),
    30: ("scrapes meanwhile", (
        "test_live_metrics::"
        "test_what_the_port_tells_is_what_was_said_and_survives_a_kill_and_a_reload",)),
    31: ("scrape floods, garbage, slow clients", (
        "test_webconfig::test_garbage_gets_an_error_and_harms_nobody",
        "test_webconfig::test_slow_clients_are_cut_off_and_the_others_served")),
    32: ("wrong settings", ("test_settings::test_a_mistake_is_named_with_its_place",)),
    33: ("settings change under load", (
        "test_live_operations::test_settings_change_while_it_runs_and_bad_ones_are_refused",)),
    34: ("topics change", (
        "test_live_policies::test_messages_that_were_deleted_unread_are_counted_and_said",
        "test_live_policies::test_an_input_that_gets_more_partitions_is_followed",
        "test_live_policies::test_a_topic_made_anew_is_refused")),
    35: ("a state topic that is not compacted", (
        "test_live_operations::test_a_state_topic_that_is_not_compacted_is_refused",)),
    36: ("a transaction that takes too long", (
        "test_live_moments::test_a_transaction_that_takes_too_long_is_begun_anew",)),
    37: ("two workers with one name", (
        "test_live_names::test_the_earlier_of_two_workers_with_one_name_stops_and_says_why",)),
    38: ("TLS and passwords", ("test_live_operations::test_sasl_over_tls_and_what_is_refused",)),
    39: ("a bad network", ("test_live_network::test_a_bad_network_loses_and_doubles_nothing",)),
    40: ("a poisoned asset", (
        "test_live_isolation::test_a_poisoned_asset_is_set_aside_and_the_others_are_judged",)),
    41: ("no memory", (
        "test_eviction::test_a_flood_of_names_keeps_memory_bounded",
        "test_memory_plan::test_the_plan_follows_the_limit_and_says_so")),
    42: ("an upgrade and a rollback", (
        "test_live_moments::"
        "test_an_upgrade_that_does_not_know_the_state_leaves_it_as_it_was",)),
    43: ("a bridge to old equipment: there is none", ()),
    44: ("the same complaint a million times", (
        "test_live_signals::test_the_same_complaint_is_heard_once_in_a_while",)),
}


def test_every_fault_of_the_list_has_its_tests_and_they_exist() -> None:
    known: dict[str, set[str]] = {}
    assert sorted(FAULTS) == list(range(1, 45))
    for number, (what, tests) in FAULTS.items():
        assert tests or "there is none" in what
        for test in tests:
            name, _, function = test.partition("::")
            if name not in known:
                tree = ast.parse((TESTS / f"{name}.py").read_text(encoding="utf-8"))
                known[name] = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
            assert function in known[name], f"fault {number}: {test} is gone"
