// A modal question, on the browser's own <dialog>: it keeps the focus inside, and Esc closes it.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "../i18n";

export function Dialog(props: {
  title: string;
  confirm: string;
  danger?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => ref.current?.showModal(), []);
  const onSubmit = (event: Event) => {
    event.preventDefault();
    props.onConfirm();
    props.onClose();
  };
  return (
    <dialog ref={ref} class="dialog" aria-labelledby={titleId} onClose={props.onClose}>
      <form onSubmit={onSubmit}>
        <h2 id={titleId}>{props.title}</h2>
        {props.children}
        <div class="dialog-buttons">
          <button type="button" class="button" onClick={props.onClose}>
            {t().cancel}
          </button>
          <button type="submit" class={props.danger ? "button danger" : "button primary"}>
            {props.confirm}
          </button>
        </div>
      </form>
    </dialog>
  );
}
