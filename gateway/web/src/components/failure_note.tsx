// Why a request failed, in words that say what to do.
import { t } from "../i18n";
import type { Failure } from "../types";
import { Icon } from "./icons";

export function FailureNote({ failure, onRetry }: { failure: Failure; onRetry: (() => void) | undefined }) {
  const title =
    failure.status === 0 ? t().networkFailed
    : failure.status < 0 ? t().brokeOff
    : t().failedStatus(failure.status);
  const aboutFormat = failure.param.startsWith("response_format") || failure.status === 501;
  return (
    <div class="failure" role="alert">
      <p class="failure-title">
        <Icon name="warning" />
        {title}
      </p>
      {failure.message && failure.status !== 0 && <p>{failure.message}</p>}
      {failure.param && <p class="failure-field">{t().inField(failure.param)}</p>}
      {failure.retryAfterSeconds && <p>{t().busy(failure.retryAfterSeconds)}</p>}
      {aboutFormat && <p>{t().formatRefused}</p>}
      {onRetry && (
        <button type="button" class="button" onClick={onRetry}>
          <Icon name="redo" />
          {t().retry}
        </button>
      )}
    </div>
  );
}
