// Conversations in the browser's IndexedDB, one record each. Where the browser has none for this page, they live in memory.
import type { Conversation } from "./types";

const databaseName = "quartet";
const storeName = "conversations";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class ConversationStore {
  private constructor(private readonly database: IDBDatabase | null) {}

  static async open(): Promise<ConversationStore> {
    try {
      const request = indexedDB.open(databaseName, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(storeName, { keyPath: "id" });
      return new ConversationStore(await done(request));
    } catch {
      return new ConversationStore(null);
    }
  }

  get isPersistent(): boolean {
    return this.database !== null;
  }

  /** All of them, the one changed last first. */
  async load(): Promise<Conversation[]> {
    const store = this.objects("readonly");
    const all = store ? await done(store.getAll() as IDBRequest<Conversation[]>) : [];
    return all.sort((a, b) => b.updated - a.updated);
  }

  async save(conversation: Conversation): Promise<void> {
    await this.write((store) => store.put(conversation));
  }

  async remove(id: string): Promise<void> {
    await this.write((store) => store.delete(id));
  }

  private objects(mode: IDBTransactionMode): IDBObjectStore | undefined {
    return this.database?.transaction(storeName, mode).objectStore(storeName);
  }

  private async write(change: (store: IDBObjectStore) => IDBRequest): Promise<void> {
    const store = this.objects("readwrite");
    if (store) await done(change(store));
  }
}
