// A parameter as a slider and a number. Untouched it stands at rest and nothing is sent, so that the model's own default holds.
import { useId } from "preact/hooks";
import { t } from "../i18n";
import { IconButton } from "./icons";

export function Slider(props: {
  label: string;
  value: number | undefined;
  min: number;
  max: number;
  step: number;
  rest: number;
  onChange: (value: number | undefined) => void;
}) {
  const id = useId();
  const isSet = props.value !== undefined;
  const onInput = (event: Event) => props.onChange(Number((event.currentTarget as HTMLInputElement).value));
  return (
    <div class={isSet ? "slider set" : "slider"}>
      <label for={id}>{props.label}</label>
      {isSet ? (
        <>
          <output for={id}>{props.value}</output>
          <IconButton icon="undo" label={t().resetParameter(props.label)} onClick={() => props.onChange(undefined)} />
        </>
      ) : (
        <output for={id}>{t().modelDefault}</output>
      )}
      <input
        id={id}
        type="range"
        min={props.min}
        max={props.max}
        step={props.step}
        value={props.value ?? props.rest}
        aria-valuetext={isSet ? String(props.value) : t().modelDefault}
        onInput={onInput}
      />
    </div>
  );
}
