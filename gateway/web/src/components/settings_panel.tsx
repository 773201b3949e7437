// System prompt, sampling and output format of the shown conversation.
import { changeSettings, current } from "../conversations";
import { formatCount } from "../format";
import { locale, t } from "../i18n";
import { cluster } from "../cluster";
import { checkSchema } from "../json_schema";
import { samplingParameters } from "../request_body";
import type { OutputFormat, Settings } from "../types";
import { IconButton } from "./icons";
import { Slider } from "./slider";

type Parameter = (typeof samplingParameters)[number];

// Range of the slider, and where it stands while the model's default is in force.
const ranges: Record<Exclude<Parameter, "seed" | "max_tokens">, [min: number, max: number, step: number, rest: number]> = {
  temperature: [0, 2, 0.05, 1],
  top_p: [0.05, 1, 0.05, 1],
  top_k: [0, 200, 1, 0],
  min_p: [0, 1, 0.01, 0],
  repetition_penalty: [0.5, 2, 0.05, 1],
  presence_penalty: [-2, 2, 0.1, 0],
  frequency_penalty: [-2, 2, 0.1, 0],
};

export function SettingsPanel({ onClose }: { onClose: () => void }) {
  const { settings } = current.value;
  const anySet = samplingParameters.some((name) => settings[name] !== undefined);
  const reset = () => changeSettings(Object.fromEntries(samplingParameters.map((name) => [name, undefined])));
  return (
    <aside class="settings" aria-label={t().settings}>
      <div class="settings-head">
        <h2>{t().settings}</h2>
        <IconButton icon="close" label={t().closeSettings} onClick={onClose} />
      </div>
      <label class="field">
        <span>{t().systemPrompt}</span>
        <textarea
          rows={3}
          placeholder={t().systemPlaceholder}
          value={settings.system}
          onInput={(event) => changeSettings({ system: event.currentTarget.value })}
        />
      </label>
      <FormatChoice settings={settings} />
      <div class="settings-section">
        <h3>{t().sampling}</h3>
        <button type="button" class="text-button" disabled={!anySet} onClick={reset}>
          {t().resetAll}
        </button>
      </div>
      {Object.entries(ranges).map(([name, [min, max, step, rest]]) => (
        <Slider
          key={name}
          label={t()[name as keyof typeof ranges]}
          value={settings[name as keyof typeof ranges]}
          min={min}
          max={max}
          step={step}
          rest={rest}
          onChange={(value) => changeSettings({ [name]: value })}
        />
      ))}
      <WholeNumber name="max_tokens" min={1} max={cluster.value?.model?.max_model_len} placeholder={t().modelDefault} />
      <WholeNumber name="seed" min={0} max={undefined} placeholder={t().randomSeed} />
    </aside>
  );
}

function WholeNumber(props: { name: "max_tokens" | "seed"; min: number; max: number | undefined; placeholder: string }) {
  const onInput = (event: Event) => {
    const text = (event.currentTarget as HTMLInputElement).value;
    const value = Math.trunc(Number(text));
    changeSettings({ [props.name]: text === "" || !(value >= props.min) ? undefined : value });
  };
  return (
    <label class="field number-field">
      <span>
        {t()[props.name]}
        {props.max !== undefined && <small> ≤ {formatCount(props.max, locale.value)}</small>}
      </span>
      <input
        type="number"
        inputMode="numeric"
        min={props.min}
        max={props.max}
        step={1}
        placeholder={props.placeholder}
        value={current.value.settings[props.name] ?? ""}
        onInput={onInput}
      />
    </label>
  );
}

const exampleSchema = `{
  "type": "object",
  "properties": {
    "name": { "type": "string" },
    "age": { "type": "integer", "minimum": 0 },
    "languages": {
      "type": "array",
      "items": { "type": "string" },
      "maxItems": 3
    }
  },
  "required": ["name", "age"],
  "additionalProperties": false
}`;

function FormatChoice({ settings }: { settings: Settings }) {
  const formats: [OutputFormat, string][] = [
    ["text", t().formatText],
    ["json_object", t().formatJson],
    ["json_schema", t().formatSchema],
  ];
  return (
    <fieldset class="field">
      <legend>{t().outputFormat}</legend>
      <div class="choice">
        {formats.map(([format, label]) => (
          <label key={format} class={settings.format === format ? "chosen" : ""}>
            <input
              type="radio"
              name="format"
              value={format}
              checked={settings.format === format}
              onChange={() => changeSettings({ format })}
            />
            {label}
          </label>
        ))}
      </div>
      {settings.format === "json_schema" && <SchemaEditor schema={settings.schema} />}
    </fieldset>
  );
}

function SchemaEditor({ schema }: { schema: string }) {
  const problems = schema.trim() === "" ? null : checkSchema(schema);
  return (
    <>
      <textarea
        class="code"
        rows={10}
        spellcheck={false}
        aria-label={t().schema}
        aria-invalid={problems !== null && problems.length > 0}
        aria-describedby="schema-verdict"
        value={schema}
        onInput={(event) => changeSettings({ schema: event.currentTarget.value })}
      />
      <div id="schema-verdict" role="status">
        {problems === null ? (
          <button type="button" class="text-button" onClick={() => changeSettings({ schema: exampleSchema })}>
            {t().schemaExample}
          </button>
        ) : problems.length === 0 ? (
          <p class="verdict good">{t().schemaGood}</p>
        ) : (
          <div class="verdict bad">
            <p>{t().schemaBad}</p>
            <ul>
              {problems.slice(0, 5).map(({ path, message }) => (
                <li key={path + message}>
                  {path && <code>{path}</code>} {message}
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
    </>
  );
}
