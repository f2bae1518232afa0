"""The dashboards as code: ``python deploy/grafana/build.py`` writes ``dashboards/*.json``.

A build-time tool: it needs ``grafana-foundation-sdk``, which the program does not. The JSON is
committed, so that nobody has to run this to use it; a test says when the two differ. Every panel
has a hint, and every query works without the recording rules, so an import by itself is enough.

What is asked for is said in ``BOARDS``; how Grafana wants it is said below it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models

HOME = Path(__file__).resolve().parent / "dashboards"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
#: What the SDK's annotations lack and Grafana's Prometheus source reads.
ANNOTATION_TEXT = {
    "titleFormat": "{{asset}}: {{kind}}", "textFormat": "{{sensor}} ({{severity}})",
    "tagKeys": "severity,kind", "step": "",
}
WIDTH = 24

_JOB = 'job="$job"'
_ASSET = 'job="$job",asset="$asset"'
_ATTENTION = ("max by (asset) (andon_asset_return_period_seconds{{{}}} / on (job, instance) "
              "group_left () andon_alert_threshold_seconds)")


@dataclass(frozen=True)
class Panel:
    """One panel: ``queries`` are (expression, legend); ``kind`` names a builder below."""

    title: str
    kind: str
    hint: str
    queries: tuple[tuple[str, str], ...]
    unit: str = units.Short
    width: int = 8
    height: int = 8
    repeat: str = ""


@dataclass(frozen=True)
class Board:
    """One dashboard; ``variables`` are (name, label, query)."""

    uid: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    annotation: str = f"max by (asset, kind, sensor, severity) (andon_alert_active{{{_JOB}}})"
    variables: tuple[tuple[str, str, str], ...] = field(default_factory=tuple)


BOARDS = (
    Board("andon-line", "andon / line overview", "What needs attention now, and where time went.", (
        Panel("Open alerts", "stat", "Alerts that are firing on all machines. More than one or two "
              "at a time usually have one cause.", (
                  (f"sum(andon_alarms_active{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Machines under judgement", "stat", "Share of the machines whose reference stands "
              "and whose alerts may be raised. The rest are still learning.", (
                  (f'sum(andon_assets{{{_JOB},condition="trusted"}}) '
                   f"/ sum(andon_assets{{{_JOB}}})", ""),), units.PercentUnit, 6, 5),
        Panel("Blind sensors", "stat", "Sensors that say nothing: stuck, silent, never changing, "
              "or come after the reference was frozen.", (
                  (f'sum(andon_sensors{{{_JOB},condition="blind"}})', ""),), width=6, height=5),
        Panel("Alarms of the last day", "stat", "Up to 150 a day are manageable, 300 need action "
              "(ISA-18.2).", ((f"sum(andon_alarms_last_day{{{_JOB}}})", ""),), width=6, height=5),
        Panel("What needs attention", "table", "One line per open alert, with the sensor that "
              "leads. Open the asset's dashboard for its signals.", (
                  ("max by (asset, kind, sensor, severity) "
                   f"(andon_alert_active{{{_JOB}}})", ""),), width=12),
        Panel("Rarest machines", "bars", "How odd each machine's latest row is: 1 is as rare as "
              "the alarm budget allows, 0.01 is everyday.", (
                  (f"topk(10, {_ATTENTION.format(_JOB)})", "{{asset}}"),), width=12),
        Panel("Alerts over time", "timeline", "When which machine had an open alert.", (
            (f"max by (asset) (andon_alert_active{{{_JOB}}})", "{{asset}}"),), width=24),
        Panel("Losses of the shift", "bars", "Time lost in the last 8 h by heading of the ledger; "
              "each heading needs another counter-measure.", (
                  (f"sum by (heading) (increase(andon_loss_seconds_total{{{_JOB}}}[8h]))",
                   "{{heading}}"),), units.Seconds, 12),
        Panel("Machines by condition", "graph", "How far what is said of the machines can be "
              "trusted: warming, learning, trusted.", (
                  (f"sum by (condition) (andon_assets{{{_JOB}}})", "{{condition}}"),), width=12),
        Panel("OEE of the shift", "bars", "Each machine's OEE in its present shift; the lowest "
              "holds the line up, or waits for the one that does.", (
                  (f'max by (asset) (andon_shift_oee_ratio{{{_JOB},shift="present"}})',
                   "{{asset}}"),), units.PercentUnit, 12),
        Panel("Furthest from the reference", "bars", "What costs more of late than its frozen "
              "reference says: cycle time, energy per part, short stops, rejects, power at "
              "rest. 0.02 is two percent.", (
                  (f"topk(10, max by (asset, kind) (andon_reference_ratio{{{_JOB}}}) - 1)",
                   "{{asset}} {{kind}}"),), units.PercentUnit, 12),
    )),
    Board("andon-asset", "andon / asset", "One machine: signals, band, rarity, evidence.", (
        Panel("Condition", "name", "How far what is said of this machine can be trusted.", (
            (f"andon_asset_condition{{{_ASSET}}} == 1", "{{condition}}"),), width=6, height=4),
        Panel("Open alerts", "stat", "Alerts of this machine that are firing.", (
            (f"count(andon_alert_active{{{_ASSET}}}) or vector(0)", ""),), width=6, height=4),
        Panel("Blind sensors", "stat", "Sensors of this machine that say nothing.", (
            (f"sum(andon_asset_blind_sensors{{{_ASSET}}})", ""),), width=6, height=4),
        Panel("Alerts so far", "stat", "Alerts of this machine that began to fire in the time "
              "that is shown.", (
                  (f"sum(increase(andon_asset_alerts_total{{{_ASSET}}}[$__range]))", ""),),
              width=6, height=4),
        Panel("Rarity", "graph", "1 is as rare as the alarm budget allows; above it an alert "
              "fires. One score, whatever led to it.", (
                  (_ATTENTION.format(_ASSET), "attention"),), width=24),
        Panel("$sensor", "band", "The signal within its expected band. Shown while the machine is "
              "in alert, a while after, and for sensors on the list (metrics.sensors).", (
                  (f'max(andon_sensor_value{{{_ASSET},sensor="$sensor"}})', "value"),
                  (f'max(andon_sensor_expected_value{{{_ASSET},sensor="$sensor",bound="low"}})',
                   "low"),
                  (f'max(andon_sensor_expected_value{{{_ASSET},sensor="$sensor",bound="high"}})',
                   "high")), width=12, repeat="sensor"),
        Panel("Evidence", "stacked", "Each sensor's share in the evidence of the open alert.", (
            (f"max by (sensor) (andon_alert_contribution_ratio{{{_ASSET}}})", "{{sensor}}"),),
              units.PercentUnit, 12),
        Panel("Time left", "graph", "Time until the limit if the trend goes on: one time in ten it "
              "is shorter than the lowest line.", (
                  ("min by (quantile) "
                   f"(andon_alert_time_left_seconds{{{_ASSET}}})", "{{quantile}}"),),
              units.Seconds, 12),
        Panel("Against the reference", "graph", "Level of late over the frozen reference of the "
              "product that is made: 1 is as usual, 1.02 two percent more.", (
                  (f"max by (kind) (andon_reference_ratio{{{_ASSET}}})", "{{kind}}"),), width=12),
        Panel("OEE by shift", "graph", "OEE of the present shift with its three factors, and OEE "
              "of the kept shifts before it.", (
                  (f"max by (shift) (andon_shift_oee_ratio{{{_ASSET}}})", "{{shift}}"),
                  (f"max by (factor) (andon_shift_factor_ratio{{{_ASSET}}})", "{{factor}}"),),
              units.PercentUnit, 12),
        Panel("Lost by order", "bars", "Time lost on each of the latest orders, where a sensor "
              "tells them.", (
                  (f"max by (order) (andon_order_lost_seconds{{{_ASSET}}})", "{{order}}"),),
              units.Seconds, 8),
        Panel("OEE by order", "bars", "OEE of each of the latest orders.", (
            (f"max by (order) (andon_order_oee_ratio{{{_ASSET}}})", "{{order}}"),),
              units.PercentUnit, 8),
        Panel("Lost in money", "bars", "What was lost in the last 8 h by heading of the ledger; "
              "shown where prices are given (losses.prices).", (
                  (f"sum by (heading) (increase(andon_loss_money_total{{{_ASSET}}}[8h]))",
                   "{{heading}}"),), width=8),
        Panel("Where the time went", "bars", "Every second of the last 8 h, by heading of the "
              "ledger: at rate, lost, planned or without data.", (
                  (f"sum by (heading) (increase(andon_booked_seconds_total{{{_ASSET}}}[8h]))",
                   "{{heading}}"),), units.Seconds, 24),
        Panel("Lost in parts", "bars", "Parts not made in the time lost in the last 8 h, by "
              "heading of the ledger, and rejects.", (
                  (f"sum by (heading) (increase(andon_loss_parts_total{{{_ASSET}}}[8h]))",
                   "{{heading}}"),), width=12),
        Panel("Energy without parts", "bars", "Energy drawn in the time lost in the last 8 h, by "
              "heading of the ledger; in the meter's unit.", (
                  (f"sum by (heading) (increase(andon_loss_energy_total{{{_ASSET}}}[8h]))",
                   "{{heading}}"),), width=12),
    ), f"max by (asset, kind, sensor, severity) (andon_alert_active{{{_ASSET}}})", (
        ("asset", "Asset", f"label_values(andon_asset_rows_total{{{_JOB}}}, asset)"),
        ("sensor", "Sensor", f"label_values(andon_sensor_value{{{_ASSET}}}, sensor)"),
    )),
    Board("andon-alarms", "andon / alarm system", "Is the alarm system itself any good?", (
        Panel("Promised", "stat", "The alarm budget: false alarms per machine and week.", (
            (f"max(andon_alert_budget_per_week{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Achieved", "stat", "Machine alerts per machine and week under judgement, true ones "
              "included. Told after a machine-day.", (
                  (f"sum(andon_alerts_achieved_per_week{{{_JOB}}} "
                   f"* andon_judged_seconds{{{_JOB}}}) "
                   f"/ sum(andon_judged_seconds{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Last ten minutes", "stat", "More than ten are a flood: more than a person can "
              "handle.", ((f"sum(andon_alarms_recent{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Last day", "stat", "Up to 150 are manageable, 300 need action.", (
            (f"sum(andon_alarms_last_day{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Flood", "timeline", "When more than ten alarms came in ten minutes.", (
            (f"max(andon_alarm_flood{{{_JOB}}})", "flood"),), width=24, height=4),
        Panel("Stale", "stat", "Active for more than 24 h: repair, shelve, or tell of the "
              "maintenance.", ((f"sum(andon_alarms_stale{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Chattering", "stat", "Sources that came and went three times within a minute, in "
              "the last 24 h.", (
                  (f"sum(andon_alarm_sources_chattering{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Highest severity", "stat", "Share of the alarms of a day; above 5 % the word loses "
              "its meaning.", ((f"max(andon_alarms_critical_ratio{{{_JOB}}})", ""),),
              units.PercentUnit, 6, 5),
        Panel("Active", "stat", "Alarms that are active now.", (
            (f"sum(andon_alarms_active{{{_JOB}}})", ""),), width=6, height=5),
        Panel("Ten worst sources", "bars", "Assets by alarms in the last day. The first one is "
              "where to begin.", (
                  (f"topk(10, sum by (asset) (andon_alarm_worst_sources{{{_JOB}}}))",
                   "{{asset}}"),), width=12),
        Panel("Alerts by kind", "graph", "Alerts that began to fire, by kind and severity.", (
            ("sum by (kind, severity) "
             f"(andon_alerts_total{{{_JOB}}})", "{{kind}} {{severity}}"),), width=12),
    )),
    Board("andon-service", "andon / the service", "Is andon itself well?", (
        Panel("Ready", "stat", "Workers that are caught up; others restore, compile or wait for "
              "the broker.", ((f"sum(andon_ready{{{_JOB}}})", ""),), width=4, height=5),
        Panel("Settings", "stat", "1 = the last settings that were read are in force.", (
            (f"min(andon_config_last_reload_successful{{{_JOB}}})", ""),), width=4, height=5),
        Panel("Waiting messages", "stat", "In the topic, behind what was handled. Add workers when "
              "it grows.", ((f"sum(andon_lag_messages{{{_JOB}}})", ""),), width=4, height=5),
        Panel("Age of the data", "stat", "The newest time in the data against the wall clock.", (
            (f"time() - max(andon_event_timestamp_seconds{{{_JOB}}})", ""),), units.Seconds, 4, 5),
        Panel("Age of the state", "stat", "Of the partition that was written longest ago; this "
              "much is read again after a crash.", (
                  (f"time() - min(andon_checkpoint_timestamp_seconds{{{_JOB}}})", ""),),
              units.Seconds, 4, 5),
        Panel("Version", "name", "The version that runs.", (
            (f"max by (version) (andon_build_info{{{_JOB}}})", "{{version}}"),), width=4, height=5),
        Panel("Readings by what became of them", "graph", "Everything but accepted and missing was "
              "refused; the reason says why.", (
                  ("sum by (reason) "
                   f"(rate(andon_readings_total{{{_JOB}}}[$__rate_interval]))", "{{reason}}"),),
              units.CountsPerSecond, 12),
        Panel("Rows", "graph", "Rows judged or learned from.", (
            (f"sum(rate(andon_rows_total{{{_JOB}}}[$__rate_interval]))", "rows"),),
              units.CountsPerSecond, 12),
        Panel("Messages by what became of them", "graph", "Messages of the topic; dead letters "
              "keep their bytes and origin.", (
                  ("sum by (outcome) "
                   f"(rate(andon_messages_total{{{_JOB}}}[$__rate_interval]))", "{{outcome}}"),),
              units.CountsPerSecond, 12),
        Panel("Dead letters", "graph", "Messages that could not be used, by reason.", (
            (f"sum by (reason) (andon_dead_letters_total{{{_JOB}}})", "{{reason}}"),), width=12),
        Panel("Stages, 99 %", "graph", "Time of each stage of a turn of the loop.", (
            ("histogram_quantile(0.99, sum by (stage, le) "
             f"(rate(andon_stage_seconds_bucket{{{_JOB}}}[$__rate_interval])))", "{{stage}}"),),
              units.Seconds, 12),
        Panel("Transactions", "graph", "Commits, and those that did not happen; what belonged to "
              "them was read again.", (
                  (f"sum(rate(andon_commits_total{{{_JOB}}}[$__rate_interval]))", "commits"),
                  (f"sum(rate(andon_aborts_total{{{_JOB}}}[$__rate_interval]))", "aborts")),
              units.CountsPerSecond, 12),
        Panel("Memory", "graph", "Of each worker's process.", (
            (f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}"),), units.BytesIEC, 8),
        Panel("Processor", "graph", "Cores in use by each worker.", (
            (f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}}"),),
              width=8),
        Panel("Left out of the metrics", "graph", "What the caps on labels left out.", (
            (f"sum by (family) (andon_series_left_out{{{_JOB}}})", "{{family}}"),), width=8),
    )),
)


def built(board: Board) -> models.Dashboard:
    """The dashboard as the SDK's object."""
    made = (
        dashboard.Dashboard(board.title).uid(board.uid).description(board.text).tags(["andon"])
        .refresh("15s").time("now-8h", "now").timezone(common.TimeZoneBrowser)
        .tooltip(models.DashboardCursorSync.CROSSHAIR).editable()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus")
                       .type("prometheus"))
        .with_variable(_variable("job", "Job", "label_values(andon_build_info, job)"))
        .annotation(dashboard.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True)
                    .hide(False).icon_color("red").expr(board.annotation))
    )
    repeated = {panel.repeat for panel in board.panels}
    for name, label, query in board.variables:
        variable = _variable(name, label, query)
        if name in repeated:  # a panel for each of its values
            everything = models.VariableOption(text="All", value="$__all", selected=True)
            variable = variable.multi(True).include_all(True).current(everything)
        made = made.with_variable(variable)
    x = y = row = 0
    for number, panel in enumerate(board.panels, 1):
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        place = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
        made = made.with_panel(_panel(panel).id(number).grid_pos(place))
        x, row = x + panel.width, max(row, panel.height)
    return made.build()


def text(board: Board) -> str:
    """The dashboard's JSON as it is committed."""
    plain = json.loads(json.dumps(built(board), cls=JSONEncoder))
    for annotation in plain["annotations"]["list"]:
        annotation.update(ANNOTATION_TEXT)
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> Any:
    made = _BUILDERS[panel.kind]().title(panel.title).description(panel.hint).datasource(SOURCE)
    made = made.unit(panel.unit)
    for letter, (expression, legend) in zip("ABCDEF", panel.queries, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        query = query.datasource(SOURCE)
        if panel.kind in ("table", "bars"):
            query = query.instant().format("table" if panel.kind == "table" else "time_series")
        else:
            query = query.range()
        made = made.with_target(query)
    if panel.repeat:
        made = made.repeat(panel.repeat).repeat_direction("h")
    return made


def _graph() -> Any:
    legend = (common_builders.VizLegendOptions().show_legend(True)
              .display_mode(common.LegendDisplayMode.LIST)
              .placement(common.LegendPlacement.BOTTOM))
    every = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    return (timeseries.Panel().line_width(1).fill_opacity(5).legend(legend).tooltip(every)
            .show_points(common.VisibilityMode.NEVER))


def _band() -> Any:
    """The value over a filled band between ``low`` and ``high``."""
    faint = [("custom.lineWidth", 0), ("custom.fillOpacity", 0)]
    return _graph().fill_opacity(0).override_by_name("low", _properties(faint)).override_by_name(
        "high", _properties([("custom.lineWidth", 0), ("custom.fillOpacity", 20),
                             ("custom.fillBelowTo", "low")]))


def _stacked() -> Any:
    stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
    return _graph().fill_opacity(60).stacking(stacking)


def _properties(pairs: list[tuple[str, Any]]) -> list[models.DynamicConfigValue]:
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in pairs]


def _stat() -> Any:
    return stat.Panel().graph_mode(common.BigValueGraphMode.AREA).reduce_options(_latest())


def _table() -> Any:
    return table.Panel().show_header(True)


def _bars() -> Any:
    return (bargauge.Panel().orientation(common.VizOrientation.HORIZONTAL)
            .reduce_options(_latest()))


def _timeline() -> Any:
    quiet = statetimeline.Panel().merge_values(True).show_value(common.VisibilityMode.NEVER)
    return quiet.line_width(0).fill_opacity(70)


def _name() -> Any:
    return stat.Panel().text_mode(common.BigValueTextMode.NAME).reduce_options(_latest())


def _latest() -> Any:
    return common_builders.ReduceDataOptions().calcs(["lastNotNull"])


_BUILDERS: dict[str, Any] = {
    "name": _name,
    "stat": _stat, "table": _table, "bars": _bars, "graph": _graph, "band": _band,
    "stacked": _stacked, "timeline": _timeline,
}


def main() -> int:
    """Write all files."""
    HOME.mkdir(exist_ok=True)
    for board in BOARDS:
        (HOME / f"{board.uid}.json").write_text(text(board), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
