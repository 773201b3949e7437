// The live state of the cluster: what is served, how busy each worker group is, what each rank holds.
import type { ComponentChildren } from "preact";
import type { ClusterState, RankState } from "../api_client";
import { cluster, connection, groups } from "../cluster";
import { historySeconds, type GroupHistory, type Sample } from "../cluster_history";
import { formatBytes, formatCount, formatDuration, formatParameters, formatRate } from "../format";
import { locale, t } from "../i18n";
import { LineChart } from "./line_chart";

export function ClusterView() {
  const state = cluster.value;
  if (!state) return <p class="empty">{connection.value === "unreachable" ? t().networkFailed : t().connecting}</p>;
  return (
    <div class={connection.value === "ok" ? "cluster" : "cluster stale"}>
      <div class="cluster-head">
        <Health state={state} />
        <p class="hint">{t().clusterIntro}</p>
      </div>
      <ServerFacts state={state} />
      {groups.value.size === 0 && <p class="empty">{t().noGroups}</p>}
      {[...groups.value.values()].map((group, index) => (
        <GroupCard key={group.state.address} group={group} index={index} />
      ))}
    </div>
  );
}

function Health({ state }: { state: ClusterState }) {
  const reachable = connection.value === "ok";
  const well = reachable && state.serving;
  return (
    <p class={well ? "health good" : "health bad"} role="status">
      <span class={well ? "dot good" : "dot bad"} aria-hidden="true" />
      {!reachable ? t().unreachable : state.serving ? t().serving : `${t().notServing}: ${state.reason}`}
    </p>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function ServerFacts({ state }: { state: ClusterState }) {
  const { model } = state;
  const device = state.groups[0]?.device;
  const numerics = [...new Set(state.groups.map((group) => group.numerics_id))];
  return (
    <dl class="facts card">
      <Fact name={t().model}>{model?.name ?? "–"}</Fact>
      <Fact name={t().architecture}>{model?.architecture ?? "–"}</Fact>
      <Fact name={t().parameters}>{model ? formatParameters(model.num_parameters) : "–"}</Fact>
      <Fact name={t().contextLength}>{model ? t().tokens(formatCount(model.max_model_len, locale.value)) : "–"}</Fact>
      <Fact name={t().device}>{device ?? "–"}</Fact>
      <Fact name={t().version}>{state.version}</Fact>
      <Fact name={t().uptime}>{formatDuration(state.uptime_seconds)}</Fact>
      <Fact name={t().numerics}>
        <code>{numerics.join(", ") || "–"}</code>
      </Fact>
    </dl>
  );
}

function GroupCard({ group, index }: { group: GroupHistory; index: number }) {
  const { state, samples, attached } = group;
  const last = samples[samples.length - 1]!;
  const count = (value: number) => formatCount(value, locale.value);
  const percent = (value: number) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  const condition = !attached ? t().lost : state.draining ? t().draining : state.healthy ? t().healthy : t().unhealthy;
  const well = attached && state.healthy && !state.draining;
  const blocks = t().kvBlocks(count(state.num_used_kv_blocks), count(state.num_kv_blocks), count(state.kv_block_tokens));
  return (
    <section class={attached ? "card group" : "card group stale"}>
      <div class="group-head">
        <h2>{t().group(index)}</h2>
        <span class={well ? "badge good" : "badge bad"}>{condition}</span>
        <small>{state.address}</small>
      </div>
      <div class="meters">
        <Meter name={t().throughput} samples={samples} of={(sample) => sample.tokensPerSecond} top={1} show={formatRate} now={last} />
        <Meter name={t().running} samples={samples} of={(sample) => sample.running} top={4} show={count} now={last} />
        <Meter name={t().waiting} samples={samples} of={(sample) => sample.waiting} top={4} show={count} now={last} />
        <Meter name={t().kvUse} samples={samples} of={(sample) => sample.kvUse} top={1} show={percent} now={last} note={blocks} />
      </div>
      <RankTable ranks={state.ranks} />
    </section>
  );
}

function Meter(props: {
  name: string;
  samples: Sample[];
  now: Sample;
  of: (sample: Sample) => number;
  show: (value: number) => string;
  top: number;
  note?: string;
}) {
  const now = props.show(props.of(props.now));
  const top = props.show(Math.max(...props.samples.map(props.of)));
  const points = props.samples.map((sample) => ({ at: sample.at, value: props.of(sample) }));
  return (
    <div class="meter">
      <p class="meter-name">{props.name}</p>
      <p class="meter-value">{now}</p>
      <LineChart points={points} span={historySeconds} top={props.top} label={t().chartLabel(props.name, now, top)} />
      <p class="meter-note">{props.note ?? t().lastMinutes}</p>
    </div>
  );
}

function RankTable({ ranks }: { ranks: RankState[] }) {
  const heads = [t().rank, t().pid, t().weights, t().kvCache, t().peakRss];
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={t().ranks}>
      <table class="ranks">
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {ranks.map((rank) => (
            <tr key={rank.rank}>
              <th scope="row">{rank.rank}</th>
              <td>{rank.pid}</td>
              <td>{formatBytes(rank.weight_bytes)}</td>
              <td>{formatBytes(rank.kv_cache_bytes)}</td>
              <td>{formatBytes(rank.peak_rss_bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
