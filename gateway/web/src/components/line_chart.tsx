// A small history chart in SVG: a line over time with the area below it, newest at the right.

export interface Point {
  /** Seconds, growing. */
  at: number;
  value: number;
}

const width = 240;
const height = 56;
const padding = 3;

/** `span`: seconds from left to right. `top`: value at the upper edge at least. */
export function LineChart(props: { points: Point[]; span: number; top: number; label: string }) {
  const { points, span } = props;
  const end = points[points.length - 1]?.at ?? 0;
  const top = Math.max(props.top, ...points.map(({ value }) => value));
  const x = (at: number) => width - ((end - at) / span) * width;
  const y = (value: number) => height - padding - (value / top) * (height - 2 * padding);
  const line = points.map(({ at, value }, index) => `${index === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const first = points[0];
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={props.label}>
      {[0.25, 0.5, 0.75].map((part) => (
        <line key={part} class="grid" x1={0} x2={width} y1={height * part} y2={height * part} />
      ))}
      {first && <path class="area" d={`${line}L${x(end)} ${height}L${x(first.at).toFixed(1)} ${height}Z`} />}
      <path class="line" d={line} />
    </svg>
  );
}
