// Tabs that work as readers of the page expect: arrow keys move, the rest of the page is one Tab key away.
import { useRef } from "preact/hooks";

export interface Tab<Name extends string> {
  name: Name;
  label: string;
}

export function Tabs<Name extends string>(props: {
  tabs: Tab<Name>[];
  selected: Name;
  label: string;
  /** The panel's id is this and the tab's name. */
  idPrefix: string;
  onSelect: (name: Name) => void;
}) {
  const list = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: KeyboardEvent) => {
    const at = props.tabs.findIndex(({ name }) => name === props.selected);
    const last = props.tabs.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    props.onSelect(props.tabs[next]!.name);
    (list.current?.children[next] as HTMLElement).focus();
  };
  return (
    <div ref={list} class="tabs" role="tablist" aria-label={props.label} onKeyDown={onKeyDown}>
      {props.tabs.map(({ name, label }) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={`${props.idPrefix}-tab-${name}`}
          aria-controls={`${props.idPrefix}-${name}`}
          aria-selected={name === props.selected}
          tabIndex={name === props.selected ? 0 : -1}
          onClick={() => props.onSelect(name)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
