// What the page keeps and passes around. Nothing here knows of the DOM or of the network.

/** A text file that the user dropped in; its text goes into the prompt. */
export interface AttachedFile {
  name: string;
  bytes: number;
  /** Counted by the server's tokenizer; undefined while that is under way or if it failed. */
  tokens?: number;
  text: string;
}

/** How one answer went. */
export interface AnswerStats {
  promptTokens: number;
  completionTokens: number;
  /** False while the server has not said yet: tokens are then counted by events. */
  exact: boolean;
  firstTokenMs: number;
  /** Decode speed: tokens after the first, by the time since the first. 0 if there is none. */
  tokensPerSecond: number;
  finishReason: string;
}

/** Why there is no (whole) answer. */
export interface Failure {
  /** HTTP status; 0: the network; -1: the stream broke off. */
  status: number;
  message: string;
  /** The field that the server names, or empty. */
  param: string;
  retryAfterSeconds?: number;
}

export interface Message {
  id: string;
  role: "user" | "assistant";
  content: string;
  files?: AttachedFile[];
  stats?: AnswerStats;
  failure?: Failure;
  stopped?: boolean;
  /** The schema that the answer was asked to fit, to check it against. */
  schema?: string;
  json?: boolean;
}

export type OutputFormat = "text" | "json_object" | "json_schema";

/** undefined leaves a parameter to the model's own default. */
export interface Settings {
  system: string;
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  max_tokens?: number;
  seed?: number;
  format: OutputFormat;
  schema: string;
}

export interface Conversation {
  id: string;
  /** Empty until the first message or the user names it. */
  title: string;
  created: number;
  updated: number;
  settings: Settings;
  messages: Message[];
}
