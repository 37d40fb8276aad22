// A list of which only the visible rows exist. Rows open and close, and an open one may have any height.

import { make } from "../dom.js";
import { Offsets } from "./offsets.js";

const OVERSCAN = 200; // pixels above and below the view
const OPEN_HEIGHT = 200; // pixels, of an open row that was not measured yet
const MAX_HEIGHT = 15_000_000; // pixels; browsers clip elements that are higher than about 17 million

/**
 * Shows `items` in a scrolling element that holds an empty list.
 *
 * `draw(item, isOpen)` returns `{head, elements, close}`: the row's focusable element, the elements of the row
 * and what to do when they are removed. A head with `aria-expanded` opens and closes its row.
 */
export class VirtualList {
  #scroller;
  #list;
  #draw;
  #items = [];
  #offsets = new Offsets();
  #rows = new Map(); // by item, the rows that exist
  #openHeights = new WeakMap(); // by item, as measured
  #allOpen = false;
  #exceptions = new Set(); // items that are not as `#allOpen` says
  #rowHeight = 24;
  #viewHeight = 0; // 0 while the list is not displayed
  #top = 0; // what the view begins with, in pixels from the first row
  #follows = true; // whether the view stays at the end
  #current = null; // the item that Tab reaches
  #sizes = new ResizeObserver((changes) => this.#measure(changes));

  constructor(scroller, draw) {
    this.#scroller = scroller;
    this.#list = scroller.firstElementChild;
    this.#draw = draw;
    this.#sizes.observe(scroller);
    scroller.addEventListener("scroll", () => this.#scrolled());
    this.#list.addEventListener("click", ({ target }) => this.#toggle(this.#rowOfHead(target)));
    this.#list.addEventListener("focusin", ({ target }) => this.#markCurrent(this.#rowOfHead(target)));
    this.#list.addEventListener("keydown", (event) => this.#press(event));
  }

  get items() {
    return this.#items;
  }

  /** Replace the items; show the end of the list or its beginning. */
  show(items, showEnd) {
    this.#items = items;
    this.#current = null;
    this.#follows = showEnd;
    this.#top = 0;
    this.#exceptions.clear();
    for (const row of this.#rows.values()) this.#remove(row);
    this.#computeOffsets();
    this.#place();
  }

  append(items) {
    for (const item of items) {
      this.#items.push(item);
      this.#offsets.push(this.#height(item));
    }
    this.#place();
  }

  /** Remove the first items, and leave what is shown where it is. */
  removeFirst(count) {
    if (count === 0) return;
    const top = this.#top - this.#offsets.before(count);
    for (const item of this.#items.splice(0, count)) {
      this.#exceptions.delete(item);
      if (this.#rows.has(item)) this.#remove(this.#rows.get(item));
      if (item === this.#current) this.#current = null;
    }
    for (const row of this.#rows.values()) row.index -= count;
    this.#computeOffsets();
    this.#place(top);
  }

  /** Open or close every row, those of later items included. */
  openAll(isOpen) {
    const first = this.#offsets.find(this.#top + 1);
    this.#allOpen = isOpen;
    this.#exceptions.clear();
    for (const row of this.#rows.values()) this.#remove(row);
    this.#computeOffsets();
    this.#place(this.#offsets.before(first));
  }

  /** Open the row of an item, and move the focus there. */
  open(index) {
    if (index < 0) return;
    const item = this.#items[index];
    if (!this.#isOpen(item)) this.#switch(item);
    this.#follows = false;
    this.#viewHeight = this.#scroller.clientHeight; // the list may have been displayed just now
    this.#offsets.set(index, this.#height(item));
    if (this.#rows.has(item)) this.#fill(this.#rows.get(item));
    this.#place();
    this.#focus(index);
  }

  #isOpen(item) {
    return this.#allOpen !== this.#exceptions.has(item);
  }

  #height(item) {
    return this.#isOpen(item) ? this.#openHeights.get(item) ?? this.#rowHeight + OPEN_HEIGHT : this.#rowHeight;
  }

  #computeOffsets() {
    this.#offsets = new Offsets(this.#items.map((item) => this.#height(item)));
  }

  /** How many pixels of the rows one pixel of the scroll bar stands for. */
  get #scale() {
    const { total } = this.#offsets;
    return total <= MAX_HEIGHT ? 1 : (total - this.#viewHeight) / (MAX_HEIGHT - this.#viewHeight);
  }

  /** Scroll to the end or to `top`, and draw what is visible there. */
  #place(top = this.#top) {
    this.#list.style.blockSize = `${Math.min(this.#offsets.total, MAX_HEIGHT)}px`;
    const last = Math.max(this.#offsets.total - this.#viewHeight, 0);
    const wanted = this.#follows ? last : Math.min(Math.max(top, 0), last);
    if (this.#viewHeight === 0) {
      this.#top = wanted;
      return;
    }
    this.#scrollTo(wanted);
  }

  #scrollTo(top) {
    if (top !== this.#top || Math.abs(this.#scroller.scrollTop - top / this.#scale) > 1) {
      this.#scroller.scrollTop = top / this.#scale;
      this.#top = top;
    }
    this.#drawVisible();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight === 0) return;
    if (Math.abs(scrollTop - this.#top / this.#scale) > 1) this.#top = scrollTop * this.#scale;
    this.#follows = scrollHeight - scrollTop - clientHeight < this.#rowHeight;
    this.#drawVisible();
  }

  #drawVisible() {
    const { scrollTop } = this.#scroller;
    const first = this.#offsets.find(this.#top - OVERSCAN);
    const last = Math.min(this.#offsets.find(this.#top + this.#viewHeight + OVERSCAN), this.#items.length - 1);
    for (const row of this.#rows.values()) {
      const hasFocus = row.element.contains(document.activeElement);
      if ((row.index < first || row.index > last) && !hasFocus) this.#remove(row);
    }
    let next = this.#list.firstElementChild;
    for (let index = first; index <= last; index += 1) {
      const item = this.#items[index];
      while (next !== null && next.row.index < index) next = next.nextElementSibling;
      if (this.#rows.has(item)) continue;
      const row = this.#add(item, index);
      this.#list.insertBefore(row.element, next);
    }
    for (const row of this.#rows.values()) {
      row.element.style.insetBlockStart = `${this.#offsets.before(row.index) - this.#top + scrollTop}px`;
      row.element.ariaPosInSet = row.index + 1;
      row.element.ariaSetSize = this.#items.length;
    }
    if (!this.#rows.has(this.#current)) this.#markCurrent(this.#rows.get(this.#items[this.#offsets.find(this.#top)]));
  }

  #add(item, index) {
    const row = { item, index, element: make("li") };
    row.element.row = row;
    this.#fill(row);
    this.#rows.set(item, row);
    this.#sizes.observe(row.element);
    return row;
  }

  #fill(row) {
    row.close?.();
    const { head, elements, close } = this.#draw(row.item, this.#isOpen(row.item));
    const hadFocus = row.head !== undefined && row.head === document.activeElement;
    row.element.replaceChildren(...elements);
    Object.assign(row, { head, close });
    head.tabIndex = row.item === this.#current ? 0 : -1;
    if (hadFocus) head.focus({ preventScroll: true });
  }

  #remove(row) {
    row.close?.();
    this.#sizes.unobserve(row.element);
    row.element.remove();
    this.#rows.delete(row.item);
  }

  #measure(changes) {
    let moved = 0;
    for (const { target, borderBoxSize: [{ blockSize }] } of changes) {
      const { row } = target;
      if (row === undefined) this.#viewHeight = this.#scroller.clientHeight;
      else if (blockSize > 0 && target.isConnected) moved += this.#resize(row, blockSize, this.#top + moved);
    }
    this.#place(this.#top + moved);
  }

  /** Return by how much what is shown at `top` would move. */
  #resize({ item, index }, height, top) {
    if (this.#isOpen(item)) this.#openHeights.set(item, height);
    else if (Math.abs(height - this.#rowHeight) > 0.5) {
      this.#rowHeight = height;
      this.#computeOffsets();
      return 0;
    }
    const isAbove = this.#offsets.before(index + 1) <= top + 1;
    const change = this.#offsets.set(index, height);
    return isAbove ? change : 0;
  }

  #rowOfHead(target) {
    const element = target.closest("li");
    return element?.row.head.contains(target) ? element.row : undefined;
  }

  #toggle(row) {
    if (row === undefined || row.head.ariaExpanded === null) return;
    this.#switch(row.item);
    this.#follows = false; // the row stays where it was pressed
    this.#fill(row);
    if (this.#isOpen(row.item)) this.#openHeights.set(row.item, row.element.offsetHeight);
    this.#offsets.set(row.index, this.#height(row.item));
    this.#place();
    if (this.#isOpen(row.item)) this.#reveal(row.index);
  }

  #switch(item) {
    if (!this.#exceptions.delete(item)) this.#exceptions.add(item);
  }

  #markCurrent(row) {
    if (row === undefined) return;
    const before = this.#rows.get(this.#current);
    if (before !== undefined) before.head.tabIndex = -1;
    this.#current = row.item;
    row.head.tabIndex = 0;
  }

  #press(event) {
    const row = this.#rowOfHead(event.target);
    if (row === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(Math.floor(this.#viewHeight / this.#rowHeight) - 1, 1);
    const target = {
      ArrowUp: row.index - 1, ArrowDown: row.index + 1, Home: 0, End: this.#items.length - 1,
      PageUp: row.index - page, PageDown: row.index + page,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.#scrolled(); // the event of a scroll comes later
    this.#focus(Math.min(Math.max(target, 0), this.#items.length - 1));
  }

  #focus(index) {
    this.#reveal(index);
    this.#rows.get(this.#items[index]).head.focus({ preventScroll: true });
  }

  /** Scroll no further than it takes to see a row. */
  #reveal(index) {
    const start = this.#offsets.before(index);
    const end = start + Math.min(this.#height(this.#items[index]), this.#viewHeight);
    if (start < this.#top) this.#scrollTo(start);
    else if (end > this.#top + this.#viewHeight) this.#scrollTo(end - this.#viewHeight);
  }
}
