// Text on a node, below its other widgets; no part of the graph that is saved.

/* style: of the box, besides what all of them have; options: of the widget, such as getMinHeight. */
export function addTextWidget(node, name, className, style, options) {
  const box = document.createElement('div')
  box.className = className
  box.setAttribute('role', 'status')
  Object.assign(box.style, {
    overflow: 'auto',
    padding: '4px 8px',
    whiteSpace: 'pre-wrap',
    ...style
  })
  const widget = node.addDOMWidget(name, name, box, { serialize: false, ...options })
  widget.serialize = false
  return widget
}
