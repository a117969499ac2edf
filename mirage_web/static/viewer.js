'use strict';
// Two pictures on one another at full resolution: a divider between them, zoom and drag by mouse, finger or key.
class Viewer {
  constructor(viewer, stage, before, after, handle, slider, shown) {
    Object.assign(this, {viewer, stage, before, after, handle, slider, shown});
    this.share = 0.5; this.scale = 1; this.x = 0; this.y = 0; this.fitted = true; this.fingers = new Map();
    slider.addEventListener('input', () => this.divide(slider.value / 1000));
    handle.addEventListener('pointerdown', (e) => { e.stopPropagation(); this.dividing = true; handle.setPointerCapture(e.pointerId); });
    handle.addEventListener('pointermove', (e) => {
      if (this.dividing) this.divide((e.clientX - viewer.getBoundingClientRect().left) / viewer.clientWidth);
    });
    for (const kind of ['pointerup', 'pointercancel']) handle.addEventListener(kind, () => { this.dividing = false; });
    viewer.addEventListener('wheel', (e) => {
      e.preventDefault();
      this.zoomAt(this.scale * Math.exp(-e.deltaY * 0.0015), ...this.at(e));
    }, {passive: false});
    viewer.addEventListener('dblclick', (e) => this.fitted ? this.zoomAt(1, ...this.at(e)) : this.fit());
    viewer.addEventListener('pointerdown', (e) => { viewer.setPointerCapture(e.pointerId); this.fingers.set(e.pointerId, this.at(e)); });
    viewer.addEventListener('pointermove', (e) => this.moved(e));
    for (const kind of ['pointerup', 'pointercancel']) viewer.addEventListener(kind, (e) => this.fingers.delete(e.pointerId));
    viewer.addEventListener('keydown', (e) => {
      const step = {ArrowLeft: -0.02, ArrowRight: 0.02}[e.key];
      if (step) this.divide(this.share + step);
      if (e.key === '+') this.zoom(1.5);
      if (e.key === '-') this.zoom(1 / 1.5);
      if (e.key === '0') this.fit();
    });
    new ResizeObserver(() => this.fitted ? this.fit() : this.draw()).observe(viewer);
  }

  at(e) {
    const box = this.viewer.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  moved(e) {
    const old = this.fingers.get(e.pointerId);
    if (!old) return;
    const [x, y] = this.at(e);
    const others = [...this.fingers].filter(([id]) => id !== e.pointerId).map(([, at]) => at);
    this.fingers.set(e.pointerId, [x, y]);
    if (others.length) {
      const [ox, oy] = others[0];
      this.zoomAt(this.scale * Math.hypot(x - ox, y - oy) / Math.max(Math.hypot(old[0] - ox, old[1] - oy), 1), (x + ox) / 2, (y + oy) / 2);
    } else {
      this.x += x - old[0]; this.y += y - old[1]; this.fitted = false; this.draw();
    }
  }

  async show(before, after) {
    this.before.src = before; this.after.src = after;
    await Promise.all([this.before.decode(), this.after.decode()]);
    this.fit(); this.divide(0.5);
  }

  get size() { return [this.after.naturalWidth || 1, this.after.naturalHeight || 1]; }

  fit() {
    const [w, h] = this.size, {clientWidth, clientHeight} = this.viewer;
    this.scale = Math.min(clientWidth / w, clientHeight / h);
    this.x = (clientWidth - w * this.scale) / 2; this.y = (clientHeight - h * this.scale) / 2;
    this.fitted = true; this.draw();
  }

  zoom(factor) { this.zoomAt(this.scale * factor, this.viewer.clientWidth / 2, this.viewer.clientHeight / 2); }

  full() { this.zoomAt(1 / (window.devicePixelRatio || 1), this.viewer.clientWidth / 2, this.viewer.clientHeight / 2); }

  zoomAt(scale, x, y) {
    scale = Math.min(Math.max(scale, 0.02), 32);
    this.x = x - (x - this.x) * scale / this.scale; this.y = y - (y - this.y) * scale / this.scale;
    this.scale = scale; this.fitted = false; this.draw();
  }

  divide(share) { this.share = Math.min(Math.max(share, 0), 1); this.slider.value = Math.round(this.share * 1000); this.draw(); }

  draw() {
    const [w, h] = this.size, line = this.share * this.viewer.clientWidth;
    for (const image of [this.before, this.after]) { image.width = w; image.height = h; }
    this.stage.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle('pixels', this.scale > 2);
    const cut = Math.min(Math.max((line - this.x) / this.scale, 0), w);
    this.before.style.clipPath = `inset(0 ${w - cut}px 0 0)`;
    this.handle.style.left = `${line}px`;
    this.shown.textContent = `${Math.round(this.scale * 100 * (window.devicePixelRatio || 1))} %`;
  }
}
